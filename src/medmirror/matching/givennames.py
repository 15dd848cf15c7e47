"""Given names that are known as names: a slip of a key does not make one of them out of another one.

It is a list of what is common in many languages, without accents; in a large register the register itself says more.
"""

GIVEN_NAMES = """
aaliyah aarav aaron abby abdul abdullah abel abigail abraham ada adam adan adel adela adele adeline adem adil adina
aditya adolf adria adrian adriana adriano adrien agata agatha agnes agnese agneta agnieszka ahmad ahmed ahmet aida
aidan aiden aileen aimee aino aisha ajay akira alan alana alba albert alberta alberto alda aldo alec aleksander
aleksandra alena alessandra alessandro alessia alessio alex alexa alexander alexandra alexandre alexia alexis alfred
alfredo ali alice alicia alina aline alisa alisha alison alissa allan allen allison alma alois alonso alva alvaro
alvin alyssa amal amalia amanda amar amara amber amelia amelie amina amir amira amit amy ana anais anand anastasia
anders andre andrea andreas andrei andres andrew andrzej andy aneta angel angela angelica angelika angelina angelo
angus anika anil anisa anita anja anke ann anna annabel annabelle anne anneke anneliese annelise annette annie annika
anthony antje antoine anton antonella antonia antonio anya april arash archie ari aria ariana ariane ariel arif arjun
arlene arlo armand armando arne arno arnold aron arthur artur arturo arun arvid ash asha asher ashley ashlyn asia
astrid athena aubrey audrey august auguste augusto aurelia aurelie aurora austin ava avery axel ayden ayesha ayla
aylin ayse aysha barbara barbora barry bart bartosz basil bastian bea beata beate beatrice beatrix beatriz becky bella
ben benedict benedikt benita benjamin benno bente berat bernard bernardo bernd bernhard bert berta bertha beth bethany
betty bev beverly bianca bilal bill billie billy birgit birgitta birte bjarne bjorn blair blake blanca bob bobby bodo
bogdan bonnie boris brad bradley brady brandon brayden brenda brendan brenna brent brett brian briana brianna bridget
brigitta brigitte britta brittany brody brooke bruce bruno bryan bryce bryn burak caden caitlin caleb calvin cameron
camila camilla camille candice cara carin carina carl carla carlo carlos carly carmel carmela carmen carol carola
carole carolin carolina caroline carolyn carrie carsten carter casey caspar cassandra cassidy catalina catarina
caterina catherine cathy catrin cecile cecilia cedric celeste celia celina celine cesar chad chantal charles charlie
charlotte chase chelsea cherie cheryl chiara chloe chris christa christel christian christiana christiane christie
christina christine christof christoph christophe christopher christy ciara cindy claas clara clare clarissa claude
claudia claudine claudio claus clay clayton clemens clement clive clyde cody cole colette colin colleen connie connor
conor conrad constance cora coralie cordula corey corina corinna corinne cornelia cornelius cory courtney craig
cristian cristiano cristina crystal curt curtis cyril daan dagmar daisy dale dalia damian damien damon dan dana dani
daniel daniela daniele daniella danielle danielo danilo danny dante daphne dara daria dario darius darlene darren
darryl dave david davide dawid dawn dean deanna debbie deborah debra declan deepa deepak deirdre delia delphine demi
denis denise dennis derek derya desiree detlef devin devon diana diane diego dieter dietmar dilan dimitri dina dirk
dmitri dolores domenico dominic dominik dominika dominique don donald donna donovan dora doreen doris dorit dorothea
dorothee dorothy doug douglas drew duncan dustin dylan earl eberhard ebony eckhard eddie eden edgar edita edith edmund
eduard eduardo edward edwin eileen eira ela elaine eleanor elena eleni elfriede eli elia eliana elias elif elin elina
elinor elio elisa elisabeth elisabetta elise elisha eliza elizabeth elke ella elle ellen ellie elliot elliott elodie
eloise elsa elsbeth else elsie elton elvira elvis ely emanuel emanuela emelie emil emile emilia emiliano emilie emilio
emily emin emine emir emma emmanuel emmett emmy emre ena enea enes enid enrico enrique enzo erhard eric erica erich
erik erika erin erna ernest ernesto ernst erwin esme esra esteban estelle ester esther ethan etienne eugen eugene
eugenia eva evan eve evelin evelina evelyn evie ewa ezra fabian fabiana fabienne fabio fabiola fabrice fabrizio faith
falk fatima fatma federica federico felicia felicitas felicity felipe felix ferdinand fergus fernanda fernando filip
filippo finlay finley finn fiona flora florence florentine florian floriane folkert fran frances francesca francesco
francine francis francisca francisco franco francois francoise frank franz franziska fred freddie frederic frederick
frederik fredrik freya frida frieda friedhelm friedrich fritz gabriel gabriela gabriele gabriella gabrielle gail
gareth garry gary gavin gemma gene genevieve geoffrey georg george georgia georgina gerald geraldine gerard gerd gerda
gerhard gero gert gertrud giacomo gianna gianni gilbert giles gillian gina ginger gino giorgia giorgio giovanna
giovanni gisela gita giulia giuliana giulio giuseppe gladys glen glenda glenn gloria gordon grace gracie graham grant
greg gregor gregory greta gretchen guido guilherme guillaume gunnar gunter gustav gustavo guy gwen hailey hakan haley
hamza hana hanna hannah hannelore hannes hanno hans harald haris harley harold harriet harriette harris harrison harry
hartmut harvey hasan hassan hatice hayden haylee hazel heather hector heide heidi heike heiko heiner heinrich heinz
helen helena helene helga helge hella helmut hendrik henning henri henriette henrik henrike henry herbert heribert
herman hermann herta hilary hilda hilde hildegard hiroshi holger holly hope horst howard hubert hugh hugo hunter
husein hussain hussein ian ibrahim ida idris ignacio igor ilaria ilka ilona ilse imke imogen imran ina ines inga inge
ingeborg ingo ingrid inka inken irena irene irina iris irma irmgard isa isaac isabel isabell isabella isabelle isaiah
isla ismael ismail israel ivan ivana ivo ivonne ivy iwona izabela jaap jack jackie jackson jacob jacqueline jacques
jade jaden jaiden jake jakob jakub jamal james jamie jan jana jane janet janette janice janina janine janis janna
jannik jannis jared jasmin jasmina jasmine jason jasper javier jay jayden jayla jaylen jean jeanette jeanne jeannette
jeff jeffrey jelena jenna jennifer jenny jens jeremiah jeremias jeremy jerome jerry jesse jessica jessie jesus jette
jill jim jimmy jin joachim joan joana joanna joanne joaquin jochen jodi jodie jody joe joel joelle joey johan johann
johanna johannes john johnny jolanda jolene jon jonah jonas jonathan joni jordan jorden jordyn jorg jorge joris josef
josefina josefine joseph josephine josh joshua josie josip jost joy joyce juan juana juanita judith judy jule jules
julia julian juliana juliane julie julien juliet juliette julio julius june jurgen justin justina justine justus jutta
kadir kai kaitlyn kaleb kamal kamil kamila kara karen karim karin karina karl karla karlo karol karolina karoline
karsten karthik kasia kaspar katarina katarzyna kate katelyn katerina katharina katherine kathleen kathrin kathryn
kathy katia katie katja katrin katrina katy kay kayden kayla kaylee keira keith kelly kelsey kelvin kemal ken kendra
kenneth kenny kent kerry kerstin kevin khadija khalid kian kiara kiera kieran kilian kim kimberley kimberly kira kiran
kirk kirsten kirsti kirstin kirsty kit kjell klara klaudia klaus knut konrad konstantin konstantina korbinian kris
krista kristian kristin kristina kristine kristof krystyna krzysztof kumar kurt kyle kylie lachlan lana lance lara
larissa larry lars lasse laszlo latoya laura laure laurel lauren laurence laurent lauri lauryn lawrence lea leah
leander leandra leandro leann leanne lee leena leif leigh leila leland lena lene leni lennard lennart lennox lenny
lenore leo leon leona leonard leonardo leone leonhard leoni leonie leonor leonora leopold leroy lesley leslie leticia
levi levin lewis lia liam lian liana lianne libby lidia liesel lieselotte lila lili lilian liliana lilith lilli
lillian lilly lily lina linda linde lindsay lindsey line linn linus lio lionel lisa lisanne lisbeth lise lissy liv
livia liz liza lloyd logan lois lola lore lorelei loren lorena lorenz lorenza lorenzo loretta lori lorna lorraine
lothar lotta lotte lou louis louisa louise luca lucas luce lucia lucian luciana luciano lucie lucien lucille lucinda
lucy ludger ludmila ludwig luigi luis luisa luise luka lukas lukasz luke luna lutz luzia lydia lyla lynda lyndon
lynette lynn lynne mabel mackenzie maddison madeleine madeline madison madlen mads mae maeve magda magdalena maggie
magnus mahmoud mahmud mai maia maja malena malik malin malina malte malu mandy manfred manon manuel manuela mara marc
marcel marcela marcella marcelo marcia marcin marco marcos marcus marek maren margaret margareta margarete margarita
margaux margit margot margret margrit mari maria mariam marian mariana mariane marianna marianne maribel marie marieke
mariella marija marika marilyn marin marina mario marion marisa marissa marit marita marius marja marjorie mark markus
marla marleen marlen marlene marlies marlis marlon marta martha martin martina martine marvin mary maryam masha mason
massimo mateo mateusz mathew mathias mathieu mathilda mathilde mathis matilda matilde mats matt matteo matthew
matthias matthieu mattis maud maura maureen maurice mauricio maurizio maurus max maxi maxim maxime maximilian maxine
maya mechthild megan mehdi mehmet meike mel mela melanie melek melina melinda melissa melody melvin mercedes meredith
merle merlin mert meryem mia micaela micah michael michaela michal michel michela michele michelle mick miguel mika
mikael mike mikkel mila milan milena miles milla millie milo mimi mina mira miranda mireille miriam mirja mirjam mirko
miroslav mirta misha mitchell mohamed mohammad mohammed moira molly mona monica monika monique montserrat morgan
moritz morten moses muhammad murat mustafa mya myra nabil nada nadia nadine nadja naima nancy nanda naomi nasir nastja
natalia natalie natascha natasha nathalie nathan nathaniel navid neal neele neha neil nele nell nellie nelly nelson
nena nerea nevio nia niall nicholas nick nicki nico nicola nicolas nicole nicoletta nicolette niels nikita niklas niko
nikola nikolai nikolas nikolaus nils nina nino nisha nishant noah noel noelia noemi nolan nora norah norbert noreen
norma norman nour nova nuno nuria octavia odette odin olaf ole oleg olga olive oliver olivia olivier omar oona orla
oscar oskar osman oswald otis ottilie otto owen pablo paige paola paolo paris parker pascal pascale patrice patricia
patricio patrick patrik patrizia patty paul paula paulina pauline paulo pavel pawel pearl pedro peggy penelope penny
pernille perry pete peter petra petros phil philip philipp philippa philippe phillip phoebe phyllis pia piedad pierre
piet pieter pietro pilar piotr piper pius polly pooja pranav pranay preston primo priscilla priya quentin quinn quirin
rachel rachid rafael raffaela raffaele rahel rahul raimund rainer raj raja rajesh ralf ralph ramon ramona rana randy
rania raoul raphael raphaela rashid raul ravi ray raymond rebecca rebekah reece reed rees regina regine reinhard
reinhold remi remy rena renata renate rene renee reto reuben rex rhea rhiannon rhonda rhys ria ricarda ricardo
riccardo richard rick ricky rico riley rita ritva rob robbie robert roberta roberto robin robyn rocco rochelle rod
roderick rodney rodrigo roger rohan roland rolf roman romana romeo romina romy ron ronald ronan ronja ronnie ronny
rory rosa rosalia rosalie rosalind rosanna rosanne rose rosemarie rosemary rosie rosina ross rowan roxana roxanne roy
ruben ruby rudi rudolf rufus rupert russell ruth ryan sabina sabine sabrina sadie said salih sally salma salome
salvador salvatore sam samantha samir samira sammy samuel samuele sandra sandrine sandro sandy sanja sanjay sanna sara
sarah sascha sasha saskia saul savannah scarlett scott seamus sean seb sebastian sebastien selena selim selin selina
selma senta serena serge sergej sergio seth severin shane shania shannon sharon shaun shauna shawn sheila shelby
shelley sherry shirin shirley shreya sibylle sidney siegfried sienna sigrid silas silje silke silva silvan silvana
silvia silvio simon simona simone sina sinead siobhan sky skye skyler slavica sofia sofie sol solange solomon sonia
sonja sophia sophie soren spencer stacey stacy stan stanislav stefan stefania stefanie stefano steffen steffi stella
sten stephan stephane stephanie stephen steve steven stewart stina stuart sue suleyman summer suraj suresh susan
susana susann susanna susanne susi susie suzanne sven svenja svetlana sybil sybille sydney sylvain sylvester sylvia
sylvie tabea tabitha talia talita tamara tamika tammy tanja tanya tara tarek tariq tasha tatiana tatjana taylor ted
terence teresa teri terry tess tessa thalia thea theo theodor theodora theodore theresa therese thilo thomas thora
thorsten tia tibor tiffany tilda till tillmann tilman tim timm timo timon timothy tina tino tobias toby todd tom tomas
tomasz tommaso tommy toni tonia tonja tony tonya tracey tracy travis trent trevor tricia trina trish tristan troy
trudy tyler tyrone tyson udo ugo ulf uli ulla ulrich ulrike uma umar umberto una ursula uschi usman uta ute uwe
valentin valentina valentine valeria valerie valerio vanessa vasco vera verena vernon veronica veronika veronique
vicky victor victoria vijay vikram viktor viktoria vinay vincent vincenzo viola violet violeta violetta virginia vito
vittoria vittorio viv vivian viviana viviane vivien vivienne vlad vladimir volker wade walburga waldemar walter wanda
warren wayne wendelin wendy werner wesley wiebke wilfried wilhelm wilhelmina will willem willi william willow willy
wilma winfried winona winston wolf wolfgang wolfram xaver xavier ximena yan yann yannick yannis yara yasemin yasin
yasmin yasmina yasmine yohan yolanda youssef yuki yuri yusuf yves yvette yvonne zac zach zachary zahra zain zaina
zainab zara zayn zeynep zoe zoey zoltan zora zuzana zuzanna
"""
